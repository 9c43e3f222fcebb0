package bench

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAuditCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(s string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	event := func(verb, user, resource string) string {
		return `{"stage":"ResponseComplete","verb":"` + verb + `","user":{"username":"` + user + `"},"objectRef":{"resource":"` + resource + `","namespace":"burst","name":"s","subresource":"status"}}` + "\n"
	}
	const ours = "system:serviceaccount:herald-system:herald-controller"
	write(event("patch", ours, "services"))
	mark, err := markAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	write(event("patch", ours, "services") + event("get", ours, "services") + event("patch", "admin", "services") + event("patch", ours, "nodes") + event("update", ours, "services")[:40])
	got, err := mark.count(func(e auditEvent) bool { return e.isServiceWrite() && isHerald(e.User.Username) })
	if err != nil || got != 1 {
		t.Errorf("writes after the mark: %d, %v; want 1", got, err)
	}
}
