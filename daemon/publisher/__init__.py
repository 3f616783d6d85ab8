"""Ready episodes -> batches -> destinations -> receipts."""
