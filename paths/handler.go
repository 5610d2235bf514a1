package paths

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Handler is the framework's backend behind what holds at every path:
//   - a panic ends the request and not the process, which serves other mounts;
//   - a field that the path does not have is refused, not ignored;
//   - a value of another type is refused without being repeated, as the framework
//     does, since it may be a secret; and never turned into text, as it does too.
type Handler struct{ *framework.Backend }

// HandleRequest implements logical.Backend.
func (h Handler) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer h.recoverPanic(string(req.Operation)+" "+req.Path, func(failed error) { resp, err = nil, failed })

	if problem := nameless(req); problem != "" {
		return logical.ErrorResponse("%s", problem+unstored(req)), nil
	}
	parsed, problem := h.parse(req)
	if problem != "" {
		return logical.ErrorResponse("%s", subjectOf(req)+problem+unstored(req)), nil
	}
	resp, err = h.Backend.HandleRequest(ctx, parsed)
	if errors.Is(err, logical.ErrUnsupportedPath) {
		if problem := pathProblem(req); problem != "" {
			return logical.ErrorResponse("%s", problem+unstored(req)), nil
		}
	}
	return resp, err
}

// HandleExistenceCheck implements logical.Backend. Whether something exists is
// a matter of its name alone. Without the data the framework cannot fail here
// on a field's type, which Vault would log with the field's value.
func (h Handler) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checked, exists bool, err error) {
	defer h.recoverPanic("existence check "+req.Path, func(failed error) { checked, exists, err = false, false, failed })

	named := *req
	named.Data = nil
	return h.Backend.HandleExistenceCheck(ctx, &named)
}

// Initialize implements logical.Backend.
func (h Handler) Initialize(ctx context.Context, req *logical.InitializationRequest) (err error) {
	defer h.recoverPanic("initialize", func(failed error) { err = failed })
	return h.Backend.Initialize(ctx, req)
}

// Cleanup implements logical.Backend.
func (h Handler) Cleanup(ctx context.Context) {
	defer h.recoverPanic("cleanup", func(error) {})
	h.Backend.Cleanup(ctx)
}

// InvalidateKey implements logical.Backend.
func (h Handler) InvalidateKey(ctx context.Context, key string) {
	defer h.recoverPanic("invalidate", func(error) {})
	h.Backend.InvalidateKey(ctx, key)
}

// recoverPanic logs where a panic came from. What it carries may be request
// data, unless it is the runtime's own complaint.
func (h Handler) recoverPanic(where string, failed func(error)) {
	p := recover()
	if p == nil {
		return
	}
	what := fmt.Sprintf("a %T", p)
	var fault runtime.Error
	if err, ok := p.(error); ok && errors.As(err, &fault) {
		what = fault.Error()
	}
	h.Logger().Error("panic: please report this", "in", where, "panic", what, "stack", string(debug.Stack()))
	failed(logical.CodedError(internalError,
		"the plugin failed in this request, which is a bug; Vault's log has a line \"panic\" to report"))
}

// parse returns a request whose fields have the types of their path's, or says what is
// wrong with one of them. A null stays, and an empty value is one: it takes a field back.
func (h Handler) parse(req *logical.Request) (parsed *logical.Request, problem string) {
	if len(req.Data) == 0 || !takesFields(req.Operation) {
		return req, ""
	}
	path := h.Route(req.Path)
	if path == nil {
		return req, ""
	}
	data := maps.Clone(req.Data)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		schema, known := path.Fields[name]
		if !known {
			return nil, unknownField(name, path.Fields)
		}
		field := providers.Field{Name: name, Type: typeOf(schema)}
		if data[name] == "" && field.Type != providers.Text { // a command line has no null
			data[name] = nil
		}
		if data[name] == nil {
			continue
		}
		value, err := field.Parse(data[name])
		if err != nil {
			return nil, err.Error()
		}
		if name == nameField && !strings.Contains(req.Path+"/", fmt.Sprintf("/%s/", value)) {
			return nil, fmt.Sprintf("field %q: is another than that of the path; leave it out", nameField)
		}
		data[name] = value
	}
	own := *req
	own.Data = data
	return &own, ""
}

// takesFields is false where Vault fills the data with something else: of a
// lease to renew or to revoke it is the answer of long ago.
func takesFields(op logical.Operation) bool {
	return slices.Contains([]logical.Operation{
		logical.CreateOperation, logical.UpdateOperation, logical.ReadOperation,
		logical.DeleteOperation, logical.ListOperation,
	}, op)
}

func unknownField(field string, known map[string]*framework.FieldSchema) string {
	var allowed []string
	for name := range known {
		if name != nameField {
			allowed = append(allowed, name)
		}
	}
	slices.Sort(allowed)
	problem := fmt.Sprintf("field %q: is not a field of this path", field)
	switch near := nearest(field, allowed); {
	case len(allowed) == 0:
		return problem + ", which has none"
	case near != "":
		return problem + fmt.Sprintf("; perhaps you mean %q", near)
	}
	return problem + "; it has " + strings.Join(allowed, ", ")
}

// subjectOf begins a sentence about a request, as failure does; empty: its path names
// nothing.
func subjectOf(req *logical.Request) string {
	kind, name, _ := strings.Cut(req.Path, "/")
	switch {
	case name == "":
		return ""
	case kind == "roles":
		return roleSubject(name) + ": "
	}
	return fmt.Sprintf("%s %q: ", kind, name)
}

// unstored ends a sentence about a write that is refused, as package configs does.
func unstored(req *logical.Request) string {
	kind, _, _ := strings.Cut(req.Path, "/")
	writes := req.Operation == logical.CreateOperation || req.Operation == logical.UpdateOperation
	if writes && (kind == "config" || kind == "roles") {
		return "; nothing was stored"
	}
	return ""
}

// kinds are what is named after them in a path.
func kinds() []string {
	return []string{"config", "roles", "creds", "static-creds", "check", "sessions", "providers"}
}

// nameless explains that a path lacks the name; empty: it does not.
func nameless(req *logical.Request) string {
	kind, name, _ := strings.Cut(req.Path, "/")
	if name != "" || !slices.Contains(kinds(), kind) || !takesFields(req.Operation) || req.Operation == logical.ListOperation {
		return ""
	}
	return fmt.Sprintf("a name is missing: give %s/<name>", kind)
}

// pathProblem explains a path that does not exist; empty: it is nothing like ours.
func pathProblem(req *logical.Request) string {
	if !takesFields(req.Operation) || req.Operation == logical.ListOperation {
		return ""
	}
	kind, name, _ := strings.Cut(req.Path, "/")
	if slices.Contains(kinds(), kind) {
		return fmt.Sprintf("field %q: %q is not a name; one has letters, digits, \"_\", \"-\" and \".\", and begins and ends with a letter, digit or \"_\"", nameField, name)
	}
	if near := nearest(kind, kinds()); near != "" {
		return fmt.Sprintf("there is no path %q; perhaps you mean %q", kind+"/", near+"/")
	}
	return ""
}

// nearest returns the name that was probably meant; empty: none is close.
func nearest(given string, names []string) string {
	best, least := "", 3 // two slips of the finger
	for _, name := range names {
		if d := distance(given, name); d < least && 2*d <= len(name) {
			best, least = name, d
		}
	}
	return best
}

// distance is how many letters must be added, left out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
