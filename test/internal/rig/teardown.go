package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/netns"
)

// Teardown removes everything that a lab's record names, and the record last,
// so that a teardown that fails can be tried again. It is no error if there is
// no such lab.
func Teardown(ctx context.Context, name string) error {
	s, err := Load(name)
	if noLab := new(NoLabError); errors.As(err, &noLab) {
		return nil
	}
	if err != nil {
		return err
	}
	unlock, err := s.lock()
	if noLab := new(NoLabError); errors.As(err, &noLab) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	// Another one may have been at it while the lock was waited for.
	if s, err = Load(name); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.teardown(ctx); err != nil {
		return fmt.Errorf("take lab %q down: %w", name, err)
	}
	return nil
}

func (s *State) teardown(ctx context.Context) error {
	s.killGuard()
	if boot, err := bootID(); err != nil || boot != s.Boot {
		return errors.Join(err, os.RemoveAll(Dir(s.Name)))
	}
	if err := s.Group.Destroy(ctx); err != nil {
		return err
	}
	var errs []error
	for _, h := range s.Hosts {
		errs = append(errs, netns.Delete(s.Namespace(h.Name)))
	}
	errs = append(errs, unmountBelow(Dir(s.Name)), s.Group.Parent().RemoveIfEmpty())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.RemoveAll(Dir(s.Name)); err != nil {
		return err
	}
	// Fails when there are other labs.
	_ = os.Remove(Root)
	return nil
}

// unmountBelow unmounts what is mounted below a directory: the nodes mount in
// namespaces of their own, so that there is something only if a node's start
// was cut off.
func unmountBelow(dir string) error {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	lines := strings.Split(string(b), "\n")
	slices.Reverse(lines)
	var errs []error
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			errs = append(errs, unix.Unmount(fields[1], unix.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}
