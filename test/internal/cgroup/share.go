package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Of returns the group that a process is in.
func Of(pid int) (Group, error) {
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	if V2() {
		path, ok := strings.CutPrefix(strings.TrimSpace(string(own)), "0::")
		if !ok {
			return nil, fmt.Errorf("process %d is in no cgroup v2: %q", pid, own)
		}
		return Group{{Path: filepath.Join(Mount, path)}}, nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return base(mounts, own)
}

// CPU is g in the one hierarchy that shares out the CPUs.
func (g Group) CPU() Group {
	for _, d := range g {
		if d.Hierarchy == "" || d.has("cpu") {
			return Group{d}
		}
	}
	return nil
}

// SetCPUShares gives the group a share of the CPUs that others want too. Shares
// are those of cgroup v1, as the kubelet counts them: 1024 is one CPU's worth.
func (g Group) SetCPUShares(shares int) error {
	for _, d := range g.CPU() {
		file, value := "cpu.shares", shares
		if d.Hierarchy == "" {
			file, value = "cpu.weight", weight(shares)
		}
		if err := os.WriteFile(filepath.Join(d.Path, file), []byte(strconv.Itoa(value)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// weight turns shares of cgroup v1, 2 to 262144, into a weight of v2, 1 to
// 10000, as the container runtimes do.
func weight(shares int) int { return 1 + (shares-2)*9999/262142 }
