package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Freeze stops every process of the group where it stands; the kernel goes on
// answering for them. It returns when all of them have stopped.
func (g Group) Freeze(ctx context.Context) error {
	for _, d := range g.Tracking() {
		file, value, done := freezer(d, true)
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			return err
		}
		for !done() {
			if err := pause(ctx); err != nil {
				return fmt.Errorf("freeze %s: %w", d.Path, err)
			}
		}
	}
	return nil
}

// Thaw undoes Freeze.
func (g Group) Thaw() error {
	for _, d := range g.Tracking() {
		file, value, _ := freezer(d, false)
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			return ignoreGone(err)
		}
	}
	return nil
}

// freezer returns the file and the value that freeze or thaw a group, and how
// to see that it is frozen.
func freezer(d Dir, freeze bool) (file, value string, frozen func() bool) {
	if d.Hierarchy == "" {
		events := filepath.Join(d.Path, "cgroup.events")
		frozen = func() bool {
			b, err := os.ReadFile(events)
			return err != nil || strings.Contains(string(b), "frozen 1")
		}
		return filepath.Join(d.Path, "cgroup.freeze"), map[bool]string{true: "1", false: "0"}[freeze], frozen
	}
	file = filepath.Join(d.Path, "freezer.state")
	frozen = func() bool {
		b, err := os.ReadFile(file)
		return err != nil || strings.TrimSpace(string(b)) == "FROZEN"
	}
	return file, map[bool]string{true: "FROZEN", false: "THAWED"}[freeze], frozen
}

// Kill ends every process of the group and of those below, frozen or not, and
// returns when none is left.
func (g Group) Kill(ctx context.Context) error {
	for {
		if err := g.thawAll(); err != nil {
			return err
		}
		left, err := g.Pids()
		if err != nil || len(left) == 0 {
			return err
		}
		if _, err := g.Signal(unix.SIGKILL, func(int) bool { return true }); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("processes %v of %s don't end: %w", left, g.Tracking()[0].Path, err)
		}
	}
}

// Signal sends a signal to the group's processes that match, and returns their
// ids. A process is held by a descriptor while it is made sure that it is the
// group's, so that no other can be hit that got its id.
func (g Group) Signal(sig unix.Signal, match func(pid int) bool) ([]int, error) {
	pids, err := g.Pids()
	if err != nil {
		return nil, err
	}
	held := map[int]int{} // process → descriptor
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // ended meanwhile
		}
		defer unix.Close(fd)
		if match(pid) {
			held[pid] = fd
		}
	}
	if pids, err = g.Pids(); err != nil {
		return nil, err
	}
	var hit []int
	for _, pid := range pids {
		fd, ok := held[pid]
		if !ok {
			continue
		}
		if err := ignoreProcessGone(unix.PidfdSendSignal(fd, sig, nil, 0)); err != nil {
			return hit, fmt.Errorf("signal process %d: %w", pid, err)
		}
		hit = append(hit, pid)
	}
	return hit, nil
}

func ignoreProcessGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// thawAll thaws the group and whatever below it was frozen on its own.
func (g Group) thawAll() error {
	for _, d := range g.Tracking() {
		err := filepath.WalkDir(d.Path, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return ignoreGone(err)
			}
			return Group{{Hierarchy: d.Hierarchy, Path: path}}.Thaw()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Destroy ends what is in the group and below, and removes the directories. A
// process may come in to the last: one that was being started, for instance.
// What does not exist is no error.
func (g Group) Destroy(ctx context.Context) error {
	for {
		if err := g.Kill(ctx); err != nil {
			return err
		}
		var err error
		for _, d := range g {
			err = errors.Join(err, removeTree(d.Path))
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if pause(ctx) != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
}

// RemoveIfEmpty removes the group's directories unless others are below them.
func (g Group) RemoveIfEmpty() error {
	for _, d := range g {
		if err := os.Remove(d.Path); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return ignoreGone(os.Remove(dir))
}

// pause lets the kernel get on with what is waited for.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Millisecond):
		return nil
	}
}
