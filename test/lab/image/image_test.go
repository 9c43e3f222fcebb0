package image

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestXattr(t *testing.T) {
	for _, tt := range []struct {
		name string
		caps []Capability
		want string
	}{
		{"NET_RAW", []Capability{NetRaw}, "0100000200200000000000000000000000000000"},
		{"NET_RAW and NET_ADMIN", []Capability{NetRaw, NetAdmin}, "0100000200300000000000000000000000000000"},
		{"above 31", []Capability{39}, "0100000200000000000000008000000000000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, hex.EncodeToString(xattr(tt.caps))); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func program(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrite(t *testing.T) {
	img := Image{
		Name:       "example.org/project/two:v1",
		User:       "65532:65532",
		Entrypoint: []string{"/plain"},
		Files: []File{
			{Path: "/plain", Source: program(t, "plain program")},
			{Path: "/opt/bin/raw", Source: program(t, "raw program"), Capabilities: []Capability{NetRaw}},
		},
	}
	var archive, again bytes.Buffer
	if err := errors.Join(img.Write(&archive), img.Write(&again)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(archive.Bytes(), again.Bytes()) {
		t.Error("the same image gave different bytes")
	}
	files := untar(t, archive.Bytes())
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"].content, &manifest); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"example.org/project/two:v1"}, manifest[0].RepoTags); diff != "" {
		t.Errorf("RepoTags -want +got\n%s", diff)
	}
	var config struct {
		Config struct {
			Entrypoint []string
			User       string
		} `json:"config"`
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(files[manifest[0].Config].content, &config); err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/plain" {
		t.Errorf("config = %+v", config.Config)
	}
	layer := files[manifest[0].Layers[0]].content
	if want := "sha256:" + digest(layer); config.RootFS.DiffIDs[0] != want {
		t.Errorf("diff id = %s, want %s", config.RootFS.DiffIDs[0], want)
	}
	inside := untar(t, layer)
	for _, dir := range []string{"opt/", "opt/bin/"} {
		if f := inside[dir]; f.header == nil || f.header.Typeflag != tar.TypeDir {
			t.Errorf("no directory %s in the layer", dir)
		}
	}
	raw, plain := inside["opt/bin/raw"], inside["plain"]
	if string(raw.content) != "raw program" || raw.header.Mode != 0o755 {
		t.Errorf("raw: mode %o, content %q", raw.header.Mode, raw.content)
	}
	if got := raw.header.PAXRecords["SCHILY.xattr.security.capability"]; got != string(xattr([]Capability{NetRaw})) {
		t.Errorf("raw's capabilities = %x", got)
	}
	if len(plain.header.PAXRecords) > 0 {
		t.Errorf("plain has attributes: %v", plain.header.PAXRecords)
	}
}

type entry struct {
	header  *tar.Header
	content []byte
}

func untar(t *testing.T, b []byte) map[string]entry {
	t.Helper()
	files := map[string]entry{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = entry{h, content}
	}
}

func TestValidate(t *testing.T) {
	good := Image{Name: "localhost/a:1", User: "1:1", Files: []File{{Path: "/a"}}}
	for _, tt := range []struct {
		name   string
		change func(*Image)
		want   string
	}{
		{"good", func(*Image) {}, ""},
		{"port is no tag", func(i *Image) { i.Name = "localhost:5000/a" }, "tag"},
		{"latest", func(i *Image) { i.Name = "localhost/a:latest" }, "tag"},
		{"user name", func(i *Image) { i.User = "nobody:nogroup" }, "numbers"},
		{"no group", func(i *Image) { i.User = "65532" }, "numbers"},
		{"relative path", func(i *Image) { i.Files = []File{{Path: "a"}} }, "absolute"},
		{"nothing in it", func(i *Image) { i.Files = nil }, "needs a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := good
			tt.change(&img)
			err := img.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestWriteFileLeavesNothingHalf(t *testing.T) {
	dir := t.TempDir()
	img := Image{Name: "localhost/a:1", User: "1:1", Files: []File{{Path: "/a", Source: filepath.Join(dir, "missing")}}}
	if err := img.WriteFile(filepath.Join(dir, "a.tar")); err == nil {
		t.Fatal("no error for a missing file")
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
