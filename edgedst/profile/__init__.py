"""What training and acting cost on this machine, sparse against dense: `edgedst profile`, and the count of FLOPs."""
