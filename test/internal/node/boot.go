package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/cgroup"
	"github.com/herald-lb/herald/test/internal/netns"
)

// Boot starts the node and returns the process id of its Init. The calling
// process is left in the node's cgroup and network, and should end.
func Boot(s *Spec) (pid int, err error) {
	runtime.LockOSThread()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Group.Destroy(ctx); err != nil {
		return 0, err
	}
	if err := errors.Join(s.Group.Create(), s.Group.Join(), netns.Enter(s.Namespace)); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, "var", "log"), 0o755); err != nil {
		return 0, err
	}
	log, err := os.OpenFile(s.BootLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, "init", s.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &unix.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("make the namespaces of node %s: %w", s.Name, err)
	}
	return cmd.Process.Pid, nil
}

// Init runs the node as the first process of its namespaces. It returns only
// if the node can't be started.
func Init(s *Spec) error {
	if os.Getpid() != 1 {
		return errors.New("init is for the first process of a node")
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return err
	}
	if err := mountAll(s); err != nil {
		return err
	}
	if err := writeConfig(s); err != nil {
		return err
	}
	if err := os.Setenv("PATH", Path); err != nil {
		return err
	}
	sup := newSupervisor()
	go sup.reap()
	if err := sup.keep("containerd", "--config", containerdConfig); err != nil {
		return err
	}
	if err := importImages(sup); err != nil {
		return err
	}
	waitUntil(func() bool { _, err := os.Stat("/var/" + released); return err == nil })
	if err := sup.keep("kube-proxy", proxyArgs(s)...); err != nil {
		return err
	}
	if err := sup.keep("kubelet", kubeletArgs(s)...); err != nil {
		return err
	}
	select {}
}

// importImages gives containerd the archives that it has not had yet.
func importImages(sup *supervisor) error {
	waitUntil(func() bool { return sup.run("ctr", "version") == nil })
	archives, err := filepath.Glob(imagesDir + "/*.tar")
	if err != nil {
		return err
	}
	for _, archive := range archives {
		mark := "/var/lib/" + ImportMark(filepath.Base(archive))
		if _, err := os.Stat(mark); err == nil {
			continue
		}
		if err := sup.run("ctr", "-n", "k8s.io", "images", "import", archive); err != nil {
			return fmt.Errorf("import %s: %w", filepath.Base(archive), err)
		}
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// ImportMark is the file in a node's /var/lib that says that an archive has been
// imported.
func ImportMark(archive string) string { return "imported-" + archive }

// waitUntil returns when cond holds. Who watches the node from outside decides
// how long that may take.
func waitUntil(cond func() bool) {
	for !cond() {
		<-time.After(50 * time.Millisecond)
	}
}

// leaf is the v2 cgroup that the node's own processes are in, as the root of
// its tree must be empty to hand controllers to the pods.
func leaf() error {
	root := cgroup.Group{{Path: cgroup.Mount}}
	group := root.Child("init")
	if err := os.Mkdir(group[0].Path, 0o755); err != nil {
		return err
	}
	if err := group.Join(); err != nil {
		return err
	}
	// The process that started this one is still in the root until it ends.
	var err error
	for range 100 {
		if err = group.Create(); !errors.Is(err, unix.EBUSY) {
			return err
		}
		<-time.After(20 * time.Millisecond)
	}
	return err
}
