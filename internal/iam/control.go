package iam

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// The control API, for scripts and for tests in other processes:
//
//	POST   /_iam/faults  a Fault as JSON, with "delay" as in "1.5s"
//	DELETE /_iam/faults  ClearFaults
//	GET    /_iam/stats   Stats
//	POST   /_iam/reset   Reset

// controlInject is POST /_iam/faults.
func (s *Server) controlInject(w http.ResponseWriter, r *http.Request) {
	f, err := decodeFault(w, r)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, errorBody{Error: err.Error()})
		return
	}
	s.Inject(f)
	w.WriteHeader(http.StatusNoContent)
}

func decodeFault(w http.ResponseWriter, r *http.Request) (Fault, error) {
	var body struct {
		Fault
		Delay string `json:"delay"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return Fault{}, fmt.Errorf("the body is not a fault: %w", err)
	}
	f := body.Fault
	if body.Delay != "" {
		delay, err := time.ParseDuration(body.Delay)
		if err != nil {
			return Fault{}, fmt.Errorf("delay: %w", err)
		}
		f.Delay = delay
	}
	return f, f.validate()
}

// controlClearFaults is DELETE /_iam/faults.
func (s *Server) controlClearFaults(w http.ResponseWriter, _ *http.Request) {
	s.ClearFaults()
	w.WriteHeader(http.StatusNoContent)
}

// controlStats is GET /_iam/stats.
func (s *Server) controlStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.Stats())
}

// controlReset is POST /_iam/reset.
func (s *Server) controlReset(w http.ResponseWriter, _ *http.Request) {
	s.Reset()
	w.WriteHeader(http.StatusNoContent)
}
