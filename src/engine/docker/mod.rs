//! The Docker engine, over the Docker API 1.41 and later.
