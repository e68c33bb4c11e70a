package agent

import "sync"

// locks serializes the changes of each single thing. Calls on different things run at once.
type locks struct {
	mu   sync.Mutex
	busy map[string]*lock
}

type lock struct {
	mu    sync.Mutex
	users int
}

func (l *locks) lock(key string) (unlock func()) {
	l.mu.Lock()
	if l.busy == nil {
		l.busy = map[string]*lock{}
	}
	one := l.busy[key]
	if one == nil {
		one = &lock{}
		l.busy[key] = one
	}
	one.users++
	l.mu.Unlock()

	one.mu.Lock()
	return func() {
		one.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.busy, key)
		}
	}
}
