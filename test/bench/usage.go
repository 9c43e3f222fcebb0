package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// usage is what a process has used.
type usage struct {
	rss, pss float64       // MiB, now
	cpu      time.Duration // since it began
}

// usageOf reads what a process has used.
func usageOf(pid int) (usage, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return usage{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	return parseUsage(string(rollup), string(stat))
}

// cpu is the time that an announcer's process has used.
func (c *cluster) cpu(announcer corev1.Pod) (time.Duration, error) {
	pid, err := c.pid(announcer, announcerProgram)
	if err != nil {
		return 0, err
	}
	u, err := usageOf(pid)
	return u.cpu, err
}

// tick is the unit of the times in /proc/PID/stat.
const tick = time.Second / 100

func parseUsage(rollup, stat string) (usage, error) {
	var u usage
	for line := range strings.Lines(rollup) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "Rss:" && fields[0] != "Pss:" {
			continue
		}
		kib, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return u, fmt.Errorf("smaps_rollup: %w", err)
		}
		if fields[0] == "Rss:" {
			u.rss = kib / 1024
		} else {
			u.pss = kib / 1024
		}
	}
	// The program's name, in brackets, may have spaces.
	_, rest, _ := strings.Cut(stat[max(strings.LastIndex(stat, ")"), 0):], " ")
	fields := strings.Fields(rest)
	const user, system = 11, 12
	if len(fields) <= system {
		return u, fmt.Errorf("stat: %q is too short", stat)
	}
	for _, i := range []int{user, system} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return u, fmt.Errorf("stat: %w", err)
		}
		u.cpu += time.Duration(n) * tick
	}
	return u, nil
}
