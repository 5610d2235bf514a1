package iam

import (
	"bytes"
	"maps"
	"net/http"
)

// recorder keeps an answer in memory.
type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer
	// unreachable says that there never was a connection.
	unreachable bool
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

// Header implements http.ResponseWriter.
func (rec *recorder) Header() http.Header { return rec.header }

// WriteHeader implements http.ResponseWriter.
func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status = status
	}
}

// Write implements http.ResponseWriter.
func (rec *recorder) Write(p []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	return rec.body.Write(p)
}

// replay sends the recorded header and the given body.
func (rec *recorder) replay(w http.ResponseWriter, body []byte) {
	maps.Copy(w.Header(), rec.header)
	w.WriteHeader(max(rec.status, http.StatusOK))
	_, _ = w.Write(body)
}
