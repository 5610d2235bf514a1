package sessions

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
