// A browser starts no worker from a file.  Opened as files, the site searches in a hidden frame instead, which runs the
// worker's script and passes its messages on.  By its name the `offline` plugin knows that it need not load one from the web.
class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.append(frame);
    this.inner = frame.contentWindow;
    this.inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    this.inner.importScripts = async (...names) => {
      for (const name of names) await this.load(name);
    };
    this.loaded = this.load(new URL(url, document.baseURI));
  }

  load(url) {
    return new Promise((resolve, reject) => {
      const script = this.inner.document.createElement("script");
      Object.assign(script, { src: url, onload: resolve, onerror: reject });
      this.inner.document.body.append(script);
    });
  }

  async postMessage(data) {
    await this.loaded;
    this.inner.dispatchEvent(new MessageEvent("message", { data }));
  }

  terminate() {
    this.inner.frameElement.remove();
  }
}

if (location.protocol === "file:") window.Worker = FrameWorker;
