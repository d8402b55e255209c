"""How any process of ours starts, talks, reports and stops. No rule about bundles, installs or quotas."""
