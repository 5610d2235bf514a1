package servers

import "time"

// Program is a program that somebody outside of this package runs beside the
// servers. It ends with us, whatever ends us, and its directory goes too.
type Program struct{ *process }

// StartProgram starts a program in dir, with its output in dir/server.log.
func StartProgram(dir, program string, args, env []string) (Program, error) {
	p, err := spawn(dir, program, args, env)
	return Program{p}, err
}

// Exited is closed when the program has ended.
func (p Program) Exited() <-chan struct{} { return p.exited }

// Stop ends the program in order, then whatever is left of it and its children.
func (p Program) Stop(grace time.Duration) { p.stop(grace) }

// Tail returns the last lines that it printed.
func (p Program) Tail() string { return tail(p.log) }
