"""The demo on AWS services of this machine: deployed, streamed, summed up, removed."""
