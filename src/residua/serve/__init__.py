"""Models that answer over HTTP and gRPC: requests become batches, and nothing that comes in can end it. Floor 4."""
