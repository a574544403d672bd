"""What the monitor needs at a rate that no test here can send: a model, and the measurements that it stands on."""
