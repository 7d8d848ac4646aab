"""HTTP server that shares one `Analyzer` between concurrent requests.

`app.create_app(settings)` builds the application; `server.run(settings)` serves it until a signal
stops it. Images are never stored or logged; the files of a video job are stored in a private
temporary folder until the job is deleted or expires.
"""
