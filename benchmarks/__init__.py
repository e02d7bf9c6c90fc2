"Measures what a stream of events costs the server, here and with other libraries: `make bench`."
