"""Read images, videos, cameras and streams as frames, and write files atomically."""
