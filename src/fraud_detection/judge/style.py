"""How the page looks, light or dark as its reader's system is; nothing is fetched from anywhere."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #ffffff; --box: #f4f6f9;
  --line: #d8dee6; --first: #8d99a8; --second: #0b6fc2; --good: #13805b; --bad: #c2410c; --warn: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --paper: #12161c;
  --box: #1b212a; --line: #323b48; --first: #77869a; --second: #58a6f0; --good: #3fc08e; --bad: #f08a5a;
  --warn: #3a3015; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 20px 64px; max-width: 1180px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 21px; margin: 44px 0 4px; padding-top: 18px;
  border-top: 2px solid var(--line); } h3 { font-size: 16px; margin: 30px 0 8px; }
p { margin: 6px 0; } .soft { color: var(--soft); } .lead { font-size: 18px; margin: 12px 0 16px; }
.note { background: var(--warn); border-left: 4px solid var(--bad); padding: 8px 12px; margin: 10px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr));
  gap: 12px; margin: 14px 0; }
.tile { background: var(--box); border-radius: 8px; padding: 12px 14px; }
.tile b { display: block; font-size: 24px; line-height: 1.25; }
.tile span { color: var(--soft); font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 18px; }
figure { margin: 0; background: var(--box); border-radius: 8px; padding: 10px 12px; }
figcaption { font-weight: 600; margin-bottom: 4px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; margin: 6px 0 10px; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, .left { text-align: left; } th { color: var(--soft); font-weight: 600; }
td small { display: block; color: var(--soft); font-variant-numeric: normal; }
.same { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
details { margin: 8px 0; } summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.side0 { fill: var(--first); } .side1 { fill: var(--second); } .unknown { fill: var(--line); opacity: 0.5; }
.level { stroke: var(--line); } .zero { stroke: var(--soft); }
.limit { stroke: var(--bad); stroke-dasharray: 5 4; }
circle.above { fill: var(--good); } line.above { stroke: var(--good); stroke-width: 3; }
circle.below { fill: var(--bad); } line.below { stroke: var(--bad); stroke-width: 3; }
circle.either { fill: var(--soft); } line.either { stroke: var(--soft); stroke-width: 3; }
"""
