"""A fake outside world on loopback: a video site behind a proxy that has no name server."""
