package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Facts describe the machine and the source tree that the working directory is
// in. What can't be found out says so.
func Facts(ctx context.Context) []Fact {
	return []Fact{
		{"machine", fmt.Sprintf("%d cores (%s), %s of memory", runtime.NumCPU(), procField("/proc/cpuinfo", "model name"), memory())},
		{"kernel", kernel()},
		{"load when it began (1, 5, 15 minutes)", Load()},
		{"Go", runtime.Version()},
		{"commit", commit(ctx)},
	}
}

// Load is the machine's load.
func Load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	fields := strings.Fields(string(b))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// procField is the first value of that name in a file of /proc.
func procField(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memory() string {
	var kib float64
	if _, err := fmt.Sscanf(procField("/proc/meminfo", "MemTotal"), "%f kB", &kib); err != nil {
		return "an unknown amount"
	}
	return number(kib/(1<<20)) + " GiB"
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

// commit names the commit, and says if the tree has changes on top of it.
func commit(ctx context.Context) string {
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no").Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	out := string(bytes.TrimSpace(head))
	if len(bytes.TrimSpace(changes)) > 0 {
		out += " with changes that are not committed"
	}
	return out
}
