package iam

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
)

// errorBody is an OAuth 2.0 error, RFC 6749 section 5.2.
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// refusal is an answer that says no; the zero value refuses nothing.
type refusal struct {
	status int
	errorBody
	page bool // an HTML page unless the client accepts JSON
}

func refuse(status int, code, description string) refusal {
	return refusal{status: status, errorBody: errorBody{code, description}}
}

func (a Answer) refusal() refusal { return refuse(a.Status, a.Error, a.Description) }

func invalidGrant(description string) refusal {
	return refuse(http.StatusBadRequest, "invalid_grant", description)
}

func (no refusal) refused() bool { return no.status != 0 }

func (no refusal) write(w http.ResponseWriter, r *http.Request) {
	if no.page && !acceptsJSON(r) {
		writePage(w, no.status, no.Error)
		return
	}
	writeJSON(w, no.status, no.errorBody)
}

func acceptsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away is no concern of ours
}

func writePage(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>"+
		"<body><h1>We are sorry...</h1><p>%s</p></body></html>\n", html.EscapeString(message))
}

// encodeJSON encodes what json.Unmarshal made and tests wrote down.
func encodeJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic("iam: encoding an answer: " + err.Error()) // a test put something else into Fault.Answer
	}
	return body
}
