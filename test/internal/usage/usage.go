// Package usage reads what processes have used, from /proc.
package usage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used.
type Usage struct {
	RSS, PSS float64       // MiB, now
	CPU      time.Duration // since it began, in steps of a hundredth of a second
}

// Of reads what a process has used.
func Of(pid int) (Usage, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return Usage{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	return parse(string(rollup), string(stat))
}

// tick is the unit of the times in /proc/PID/stat.
const tick = time.Second / 100

func parse(rollup, stat string) (Usage, error) {
	var u Usage
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
			u.RSS = kib / 1024
		} else {
			u.PSS = kib / 1024
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
		u.CPU += time.Duration(n) * tick
	}
	return u, nil
}
