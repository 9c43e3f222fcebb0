package lab_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leftovers lists everything on the machine that bears a lab's name: its
// processes, namespaces, mounts, cgroups and files.
func leftovers(t *testing.T, name string) []string {
	t.Helper()
	var left []string
	marks := []string{"/herald-lab/" + name, "herald-" + name + "."}
	bears := func(s string) bool {
		for _, m := range marks {
			if strings.Contains(s, m) {
				return true
			}
		}
		return false
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if p == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		// A process that ends meanwhile can't be read and is not left.
		cmdline, _ := os.ReadFile(p + "/cmdline")
		groups, _ := os.ReadFile(p + "/cgroup")
		if bears(string(cmdline)) || bears(string(groups)) {
			left = append(left, "process "+p+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if bears(line) {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	for _, dir := range []string{"/sys/fs/cgroup", "/run/netns", "/var/lib/herald-lab"} {
		filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && bears(path) {
				left = append(left, "file "+path)
			}
			return nil
		})
	}
	return left
}

// wantNothingLeft fails the test if anything bears a lab's name.
func wantNothingLeft(t *testing.T, name string) {
	t.Helper()
	if left := leftovers(t, name); len(left) > 0 {
		t.Errorf("left behind by lab %s:\n%s", name, strings.Join(left, "\n"))
	}
}

// wantNothingLeftSoon is for what another process takes down.
func wantNothingLeftSoon(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if len(leftovers(t, name)) == 0 {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	wantNothingLeft(t, name)
}
