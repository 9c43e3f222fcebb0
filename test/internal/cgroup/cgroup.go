package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is where the kernel's cgroup file systems are on Linux.
const Mount = "/sys/fs/cgroup"

// Dir is a group's directory in one hierarchy.
type Dir struct {
	// Hierarchy is what /proc/self/cgroup calls it: "cpu,cpuacct",
	// "name=systemd", or "" for cgroup v2.
	Hierarchy string
	Path      string
}

// Group is a control group: one directory in each hierarchy. It is a name; it
// may or may not exist.
type Group []Dir

// Base returns the group below which a lab may make groups of its own.
func Base() (Group, error) {
	if V2() {
		return Group{{Path: Mount}}, nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	return base(mounts, own)
}

// V2 reports whether the machine's controllers are on the unified hierarchy.
func V2() bool {
	var st unix.Statfs_t
	return unix.Statfs(Mount, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// base matches the v1 hierarchies of /proc/self/cgroup with where they are
// mounted by /proc/self/mountinfo.
func base(mountinfo, own []byte) (Group, error) {
	where := map[string]string{} // one controller or name=X → mount point
	for line := range bytes.Lines(mountinfo) {
		before, after, ok := strings.Cut(string(line), " - cgroup ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(tail) < 2 {
			continue
		}
		for option := range strings.SplitSeq(tail[1], ",") {
			where[option] = fields[4]
		}
	}
	var g Group
	for line := range bytes.Lines(own) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) != 3 || parts[1] == "" {
			continue
		}
		first, _, _ := strings.Cut(parts[1], ",")
		if mount, ok := where[first]; ok {
			g = append(g, Dir{Hierarchy: parts[1], Path: filepath.Join(mount, parts[2])})
		}
	}
	for _, need := range []string{"memory", "freezer", "pids", "devices"} {
		if !slices.ContainsFunc(g, func(d Dir) bool { return d.has(need) }) {
			return nil, fmt.Errorf("cgroup controller %s is not mounted below %s: mount it, or boot with cgroup v2", need, Mount)
		}
	}
	return g, nil
}

func (d Dir) has(controller string) bool {
	return slices.Contains(strings.Split(d.Hierarchy, ","), controller)
}

// Child names a group below g.
func (g Group) Child(names ...string) Group {
	child := make(Group, len(g))
	for i, d := range g {
		child[i] = Dir{Hierarchy: d.Hierarchy, Path: filepath.Join(append([]string{d.Path}, names...)...)}
	}
	return child
}

// Parent names the group above g.
func (g Group) Parent() Group { return g.Child("..") }

// Tracking is g in the one hierarchy that says which processes are its own and
// freezes them: enough for a process that needs no limits.
func (g Group) Tracking() Group {
	for _, d := range g {
		if d.Hierarchy == "" || d.has("freezer") {
			return Group{d}
		}
	}
	return nil
}

// Create makes the group's directories, which is no error where they exist,
// below parents that exist. On v2 the parent hands its controllers down.
func (g Group) Create() error {
	for _, d := range g {
		if d.Hierarchy == "" {
			if err := delegate(filepath.Dir(d.Path)); err != nil {
				return err
			}
		}
		if err := os.Mkdir(d.Path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if d.has("cpuset") {
			if err := inheritCPUSet(d.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// delegate lets the v2 cgroups below dir use every controller that dir has.
func delegate(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(have)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("hand the %s controller down from %s: %w", controller, dir, err)
		}
	}
	return nil
}

// inheritCPUSet fills in what a new v1 cpuset must have before it can hold a
// process.
func inheritCPUSet(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(value)) > 0 {
			continue
		}
		if value, err = os.ReadFile(filepath.Join(filepath.Dir(dir), name)); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Join moves this process into the group.
func (g Group) Join() error {
	for _, d := range g {
		if err := os.WriteFile(filepath.Join(d.Path, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	return nil
}

// Pids lists the processes of the group and of the groups below it.
func (g Group) Pids() ([]int, error) {
	var pids []int
	for _, d := range g.Tracking() {
		err := filepath.WalkDir(d.Path, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return ignoreGone(err)
			}
			found, err := readPids(filepath.Join(path, "cgroup.procs"))
			pids = append(pids, found...)
			return ignoreGone(err)
		})
		if err != nil {
			return nil, err
		}
	}
	return pids, nil
}

func readPids(file string) ([]int, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var pids []int
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if pid, err := strconv.Atoi(lines.Text()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, lines.Err()
}

// ignoreGone drops errors that say that a cgroup vanished while it was read.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
