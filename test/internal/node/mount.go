package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/cgroup"
)

// Where a node finds what the lab gives it.
const (
	binDir    = "/run/lab/bin"
	imagesDir = "/run/lab/images"
)

// Path is where a node looks for programs: the cluster's own come first.
const Path = binDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// machineSettings are the kernel settings of the whole machine that a kubelet
// insists on, with the values it wants to see.
var machineSettings = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// mountAll gives the node its own view of the file systems.
func mountAll(s *Spec) error {
	// What is about to be covered is held by descriptors.
	bin, err := hold(s.Bin)
	if err != nil {
		return err
	}
	images, err := hold(s.Images)
	if err != nil {
		return err
	}
	if err := makeDirs(s.Dir, "var", "etc/upper", "etc/work", "sysctl"); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") },
		func() error { return mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") },
		func() error { return mountCgroups(s.Group) },
		func() error { return bindSettings(filepath.Join(s.Dir, "sysctl")) },
		func() error {
			upper, work := filepath.Join(s.Dir, "etc/upper"), filepath.Join(s.Dir, "etc/work")
			return mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work)
		},
		func() error { return mount(filepath.Join(s.Dir, "var"), "/var", "", unix.MS_BIND, "") },
		func() error { return mount("run", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755") },
		func() error { return mount("tmp", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777") },
		func() error { return makeDirs("/run", "lock", "netns", "lab/bin", "lab/images") },
		func() error { return mount(bin, binDir, "", unix.MS_BIND, "") },
		func() error { return mount(images, imagesDir, "", unix.MS_BIND, "") },
		func() error {
			return makeDirs("/", "var/lib/containerd", "var/lib/kubelet", "var/log/pods", "var/log/containers",
				"etc/cni/net.d", "etc/kubernetes/manifests")
		},
		func() error { return mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "") },
		func() error { return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// hold opens a directory for good and returns a name for it that stays valid.
func hold(dir string) (string, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", dir, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

func makeDirs(base string, names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, os.MkdirAll(filepath.Join(base, name), 0o755))
	}
	return errors.Join(errs...)
}

// mountCgroups shows the node its own cgroup as the root of each hierarchy.
func mountCgroups(group cgroup.Group) error {
	if group[0].Hierarchy == "" {
		if err := mount("cgroup2", cgroup.Mount, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return err
		}
		return leaf()
	}
	if err := mount("cgroup_root", cgroup.Mount, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for _, d := range group {
		// containerd looks for name=systemd too, since /proc/PID/cgroup names it.
		name, options := d.Hierarchy, d.Hierarchy
		if named, ok := strings.CutPrefix(d.Hierarchy, "name="); ok {
			name, options = named, "none,"+d.Hierarchy
		}
		dir := filepath.Join(cgroup.Mount, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := mount("cgroup", dir, "cgroup", 0, options); err != nil {
			return err
		}
		for controller := range strings.SplitSeq(name, ",") {
			if controller == name {
				continue
			}
			if err := os.Symlink(name, filepath.Join(cgroup.Mount, controller)); err != nil {
				return err
			}
		}
	}
	return nil
}

// bindSettings puts files of the node's own over the machine's settings.
func bindSettings(dir string) error {
	for name, value := range machineSettings {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}
