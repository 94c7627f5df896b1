"""From settings and a bundle to a running system on AWS: template, package, plan (all pure), apply."""
