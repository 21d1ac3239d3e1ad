"""Data: benchmarks and own folders, the doctor, the store, augmentation and sampling."""
