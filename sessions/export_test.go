package sessions

import "context"

// Loaded counts the accounts whose ledger has been read.
func (e *Engine) Loaded() int {
	n := 0
	e.eachAccount(func(a *account) {
		select {
		case <-a.ready:
			n++
		default:
		}
	})
	return n
}

// InUse counts the sessions of an account that are, or may be, open at the server.
func (e *Engine) InUse(ctx context.Context, id AccountID) (int, error) {
	st, err := e.Status(ctx, id)
	return st.Usage.Ours(), err
}
