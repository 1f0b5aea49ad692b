"""What the tests with real processes share: processes, HTTP, clusters, meshes, foreign peers."""
