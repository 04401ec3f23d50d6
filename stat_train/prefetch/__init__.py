"""What a run takes from the network, fetched before it runs: on a login node, for compute nodes that have none."""
