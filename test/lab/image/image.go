// Package image writes container images from scratch, with no registry and no
// container tool: one layer that holds a few static programs, in the
// docker-archive format that containerd, docker and podman import.
//
// The same content gives the same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Image is what goes into an image.
type Image struct {
	// Name is the full reference, with a tag other than "latest": for that
	// one a kubelet would ask a registry.
	Name string
	// User is UID:GID, in numbers: a kubelet can't tell whether a name is root.
	User       string
	Entrypoint []string
	Files      []File
}

// File is one program of an image.
type File struct {
	Path   string // in the image, absolute
	Source string // on this machine
	// Capabilities that a process gets by executing the file (permitted and
	// effective). A pod that does not add all of them can't execute it.
	Capabilities []Capability
}

// Capability is the number of a Linux capability, as in capability.h.
type Capability uint

// The capabilities that a network program may need.
const (
	NetAdmin Capability = 12
	NetRaw   Capability = 13
)

// attribute is the extended attribute that gives a file capabilities.
const attribute = "security.capability"

// xattr is the value of the attribute: struct vfs_cap_data of capability.h,
// revision 2, with the effective bit set.
func xattr(capabilities []Capability) []byte {
	const revision2, effective = 0x02000000, 0x000001
	var permitted uint64
	for _, c := range capabilities {
		permitted |= 1 << c
	}
	b := binary.LittleEndian.AppendUint32(nil, revision2|effective)
	b = binary.LittleEndian.AppendUint32(b, uint32(permitted))
	b = binary.LittleEndian.AppendUint32(b, 0) // inheritable
	b = binary.LittleEndian.AppendUint32(b, uint32(permitted>>32))
	return binary.LittleEndian.AppendUint32(b, 0)
}

// Validate reports everything about the image that a cluster could not run.
func (img Image) Validate() error {
	var errs []error
	slash := strings.LastIndexByte(img.Name, '/')
	_, tag, _ := strings.Cut(img.Name[slash+1:], ":")
	if tag == "" || tag == "latest" {
		errs = append(errs, fmt.Errorf("image name %q: give it a tag other than latest, or a kubelet asks a registry for it", img.Name))
	}
	uid, gid, ok := strings.Cut(img.User, ":")
	if !ok || !numeric(uid) || !numeric(gid) {
		errs = append(errs, fmt.Errorf("image user %q: want UID:GID in numbers", img.User))
	}
	if len(img.Files) == 0 {
		errs = append(errs, errors.New("an image needs a file"))
	}
	for _, f := range img.Files {
		if !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path {
			errs = append(errs, fmt.Errorf("image file %q: want a clean absolute path", f.Path))
		}
	}
	return errors.Join(errs...)
}

func numeric(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// WriteFile writes the image to a file, which is whole or not there at all.
func (img Image) WriteFile(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := img.Write(f); err != nil {
		f.Close()
		return fmt.Errorf("image %s: %w", img.Name, err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Write writes the image as a docker-archive.
func (img Image) Write(w io.Writer) error {
	if err := img.Validate(); err != nil {
		return err
	}
	layer, err := img.layer()
	if err != nil {
		return err
	}
	layerID := digest(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": img.Entrypoint, "User": img.User, "WorkingDir": "/"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layerID}},
	})
	if err != nil {
		return err
	}
	configName, layerName := digest(config)+".json", layerID+".tar"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": []string{img.Name}, "Layers": []string{layerName}}})
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for _, e := range []struct {
		name    string
		content []byte
	}{{configName, config}, {layerName, layer}, {"manifest.json", manifest}} {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if err := writeEntry(archive, h, e.content); err != nil {
			return err
		}
	}
	return archive.Close()
}

// layer is the tar of the image's files, with the directories they are in.
func (img Image) layer() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range directories(img.Files) {
		h := &tar.Header{Name: dir + "/", Mode: 0o755, Typeflag: tar.TypeDir}
		if err := writeEntry(w, h, nil); err != nil {
			return nil, err
		}
	}
	for _, f := range img.Files {
		content, err := os.ReadFile(f.Source)
		if err != nil {
			return nil, err
		}
		h := &tar.Header{Name: f.Path[1:], Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if len(f.Capabilities) > 0 {
			h.Format = tar.FormatPAX
			h.PAXRecords = map[string]string{"SCHILY.xattr." + attribute: string(xattr(f.Capabilities))}
		}
		if err := writeEntry(w, h, content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// directories lists the parents of the files, each before what is in it.
func directories(files []File) []string {
	var dirs []string
	for _, f := range files {
		for dir := filepath.Dir(f.Path); dir != "/"; dir = filepath.Dir(dir) {
			dirs = append(dirs, dir[1:])
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func writeEntry(w *tar.Writer, h *tar.Header, content []byte) error {
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
