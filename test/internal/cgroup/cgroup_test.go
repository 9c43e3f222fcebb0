package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory
35 31 0:32 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
36 31 0:33 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
37 31 0:34 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
38 31 0:35 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
39 31 0:36 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`

const own = `7:name=systemd:/user.slice
6:pids:/
5:freezer:/
4:devices:/
3:memory:/a/job
2:cpuacct,cpu:/a
1:blkio:/
0::/user.slice
`

func TestBase(t *testing.T) {
	got, err := base([]byte(mounts), []byte(own))
	if err != nil {
		t.Fatal(err)
	}
	want := Group{
		{"name=systemd", "/sys/fs/cgroup/systemd/user.slice"},
		{"pids", "/sys/fs/cgroup/pids"},
		{"freezer", "/sys/fs/cgroup/freezer"},
		{"devices", "/sys/fs/cgroup/devices"},
		{"memory", "/sys/fs/cgroup/memory/a/job"},
		{"cpuacct,cpu", "/sys/fs/cgroup/cpu,cpuacct/a"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	child := got.Child("herald-lab", "x")
	if diff := cmp.Diff(Group{{"freezer", "/sys/fs/cgroup/freezer/herald-lab/x"}}, child.Tracking()); diff != "" {
		t.Errorf("tracking -want +got\n%s", diff)
	}
	if diff := cmp.Diff(got.Child("herald-lab"), child.Parent()); diff != "" {
		t.Errorf("parent -want +got\n%s", diff)
	}
}

func TestBaseWithoutAController(t *testing.T) {
	_, err := base([]byte(strings.ReplaceAll(mounts, "freezer", "other")), []byte(own))
	if err == nil || !strings.Contains(err.Error(), "freezer") {
		t.Errorf("error = %v, want one that names the freezer", err)
	}
}

func TestTrackingV2(t *testing.T) {
	g := Group{{Path: Mount}}.Child("herald-lab")
	if diff := cmp.Diff(g, g.Tracking()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
