package member

import (
	"sync"
	"time"
)

// mailbox takes events from any goroutine, without blocking: some come from
// memberlist while it holds its lock.
type mailbox struct {
	ready chan struct{} // holds one when there are events

	mu     sync.Mutex // guards the fields below
	events []event
}

func (m *mailbox) post(e event) {
	m.mu.Lock()
	m.events = append(m.events, e)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// handle applies the events that came, in their order.
func (m *mailbox) handle(c *core, now time.Time) {
	m.mu.Lock()
	events := m.events
	m.events = nil
	m.mu.Unlock()
	for _, e := range events {
		e(c, now)
	}
}
