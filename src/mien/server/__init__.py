"""The HTTP service: one Analyzer for many who ask at once.

`app.create(settings)` is the application, `server.run(settings)` serves it until it is told to
stop. No picture is stored or logged; what a video needs lies in a private folder for as long as its
job.
"""
