package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/herald-lb/herald/test/herald"
)

// auditEvent is a line of the API server's audit log, as far as it matters here.
type auditEvent struct {
	Stage, Verb string
	User        struct{ Username string }
	ObjectRef   struct{ Resource, Namespace, Name, Subresource string }
}

// isServiceWrite reports whether it is a write to a Service, its status included.
func (e *auditEvent) isServiceWrite() bool {
	switch e.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return e.Stage == "ResponseComplete" && e.ObjectRef.Resource == "services"
	}
	return false
}

// isHerald reports whether a user is one of Herald's programs.
func isHerald(user string) bool {
	return strings.HasPrefix(user, "system:serviceaccount:"+herald.Namespace+":")
}

// auditMark is a place in an audit log.
type auditMark struct {
	path   string
	offset int64
}

// markAudit marks the end of what the log has now.
func markAudit(path string) (auditMark, error) {
	info, err := os.Stat(path)
	if err != nil {
		return auditMark{}, err
	}
	return auditMark{path, info.Size()}, nil
}

// count counts the events after the mark that match.
func (m auditMark) count(match func(auditEvent) bool) (int, error) {
	f, err := os.Open(m.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Seek(m.offset, io.SeekStart); err != nil {
		return 0, err
	}
	n := 0
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF { // what is left is not written in full yet
			return n, nil
		}
		if err != nil {
			return n, err
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return n, fmt.Errorf("audit log %s: %w", m.path, err)
		}
		if match(e) {
			n++
		}
	}
}
