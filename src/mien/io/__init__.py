"""Reads pictures, videos and cameras, writes files whole; does not look for faces in them."""
