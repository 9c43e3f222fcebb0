package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// progress writes a line per step, with the time since the start.
type progress struct {
	start time.Time
	mu    sync.Mutex // guards the field below
	w     io.Writer
}

func newProgress(w io.Writer) *progress { return &progress{w: w, start: time.Now()} }

func (p *progress) step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%5.1f s  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// Wait is something to wait for.
type Wait struct {
	What    string
	Timeout time.Duration
	Logs    []string // whose last lines say why it does not come
	// Done reports whether it has come, and if not, what is seen of it.
	Done func(ctx context.Context) (ok bool, seen string)
}

// Between looks, and before and between the lines that say what is waited for.
const (
	lookEvery   = 100 * time.Millisecond
	silence     = 4 * time.Second
	remindEvery = 10 * time.Second
)

// WaitFor waits. From a few seconds on it says what for; if it is in vain, its
// error has the end of the logs.
func (l *Lab) WaitFor(ctx context.Context, w Wait) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.Timeout, fmt.Errorf("not within %v", w.Timeout))
	defer cancel()
	say := time.NewTimer(silence)
	defer say.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var seen string
	for {
		ok, now := w.Done(ctx)
		if ok {
			return nil
		}
		if now != "" && ctx.Err() == nil {
			seen = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; last seen: %s%s", w.What, context.Cause(ctx), seen, tails(w.Logs))
		case <-say.C:
			l.progress.step("waiting for %s (%s)", w.What, seen)
			say.Reset(remindEvery)
		case <-look.C:
		}
	}
}

// tails returns the last lines of the logs, for a person to read.
func tails(logs []string) string {
	const lines = 12
	var out strings.Builder
	for _, name := range logs {
		content, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintf(&out, "\n--- %v", err)
			continue
		}
		all := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
		fmt.Fprintf(&out, "\n--- end of %s\n%s", name, bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
	}
	return out.String()
}
