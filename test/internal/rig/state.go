package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/cgroup"
)

// Root is where labs keep their records, logs and nodes' disks.
const Root = "/var/lib/herald-lab"

// record is the file that State is kept in.
const record = "lab.json"

// State is a lab's record.
type State struct {
	Name      string
	Boot      string       // the machine's boot id: another one means that all processes are gone
	Group     cgroup.Group // the lab's cgroup
	Bin       string       // the cluster's programs
	IPv6Only  bool
	Hosts     []Host
	Processes []Process // of the control plane
	Guard     int       // process id of the guard; 0 when there is none
}

// Host is a machine of the lab: a network namespace with one interface, eth0,
// on the LAN, unless it is the LAN's switch itself.
type Host struct {
	Name string
	MAC  string       // eth0's; empty for a host that is not on the LAN
	IPv4 netip.Prefix // zero in an IPv6-only lab
	IPv6 netip.Prefix
	Node bool // runs a kubelet
}

// Process is a program of the control plane, as it is started.
type Process struct {
	Name string
	Host string
	Args []string
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)

// CheckName reports what is wrong with the name of a lab or a host.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("name %q: want up to 20 lower-case letters, digits and hyphens", name)
	}
	return nil
}

// Dir is where the lab's files are.
func Dir(name string, elem ...string) string {
	return filepath.Join(append([]string{Root, name}, elem...)...)
}

// Create makes a lab's record, and fails if there is one of that name. What a
// reboot of the machine has left of one is cleared away.
func Create(s *State) error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	s.Boot = boot
	// Programs that run as users of their own, such as routers, find their files
	// below; what is secret is in directories that are closed.
	if err := errors.Join(os.MkdirAll(Root, 0o711), os.Chmod(Root, 0o711)); err != nil {
		return err
	}
	if old, err := Load(s.Name); err == nil && old.Boot != boot {
		if err := os.RemoveAll(Dir(s.Name)); err != nil {
			return err
		}
	}
	next, err := os.MkdirTemp(Root, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next)
	if err := errors.Join(os.Chmod(next, 0o711), s.write(filepath.Join(next, record))); err != nil {
		return err
	}
	err = os.Rename(next, Dir(s.Name))
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("there is a lab %q already: take it down with `lab down --name %s`, or choose another name", s.Name, s.Name)
	}
	return err
}

// Load reads a lab's record.
func Load(name string) (*State, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(Dir(name, record))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoLabError{Name: name}
	}
	if err != nil {
		return nil, err
	}
	s := new(State)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("record of lab %q: %w", name, err)
	}
	return s, nil
}

// NoLabError says that there is no lab of a name.
type NoLabError struct{ Name string }

func (e *NoLabError) Error() string {
	return fmt.Sprintf("there is no lab %q: bring it up with `lab up --name %s`", e.Name, e.Name)
}

// List returns the names of the labs on this machine.
func List() ([]string, error) {
	entries, err := os.ReadDir(Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Update changes a lab's record under its lock, and s with it.
func (s *State) Update(change func(*State) error) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	now, err := Load(s.Name)
	if err != nil {
		return err
	}
	if err := change(now); err != nil {
		return err
	}
	if err := now.save(); err != nil {
		return err
	}
	*s = *now
	return nil
}

func (s *State) lock() (unlock func(), err error) {
	f, err := os.OpenFile(Dir(s.Name, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoLabError{Name: s.Name}
	}
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func (s *State) save() error {
	next := Dir(s.Name, record+".next")
	if err := s.write(next); err != nil {
		return err
	}
	return os.Rename(next, Dir(s.Name, record))
}

func (s *State) write(file string) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// Host finds a host by its name.
func (s *State) Host(name string) (Host, error) {
	i := slices.IndexFunc(s.Hosts, func(h Host) bool { return h.Name == name })
	if i < 0 {
		return Host{}, fmt.Errorf("lab %q has no host %q: it has %s", s.Name, name, strings.Join(s.hostNames(), ", "))
	}
	return s.Hosts[i], nil
}

func (s *State) hostNames() []string {
	var names []string
	for _, h := range s.Hosts {
		names = append(names, h.Name)
	}
	return names
}

// Namespace is the name of a host's network namespace, as ip(8) shows it.
func (s *State) Namespace(host string) string {
	return "herald-" + s.Name + "." + host
}

// UnitGroup is the cgroup of a node, of a program of the control plane, or, with
// a dot in its name, of what is run on a host from outside.
func (s *State) UnitGroup(name string) cgroup.Group {
	return s.Group.Child(name)
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
