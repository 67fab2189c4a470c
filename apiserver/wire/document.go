package wire

import "net/http"

// WriteBody answers with a document that is encoded already and is no object of the API, compressed where that pays.
func WriteBody(w http.ResponseWriter, r *http.Request, code int, contentType string, body []byte) {
	writeBody(w, r, code, contentType, body)
}
