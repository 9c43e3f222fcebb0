package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"github.com/herald-lb/herald/test/internal/node"
	"github.com/herald-lb/herald/test/lab/image"
)

// WebImage is the name of the image of cmd/web, which every lab has.
const WebImage = "localhost/web:1"

// HeraldImage is the name by which the manifests in deploy/ ask for Herald.
const HeraldImage = "herald-lb.io/herald:v0.1.0"

// nonRoot is the user that the images' programs run as.
const nonRoot = "65532:65532"

// Helper builds the lab's helper program and returns where it is.
func (b *Builder) Helper(ctx context.Context) (string, error) {
	unlock, err := b.lockTree(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	return b.own(ctx, "test", "labhelper")
}

// LabImages builds the images that every lab has and returns their archives.
func (b *Builder) LabImages(ctx context.Context) ([]string, error) {
	unlock, err := b.lockTree(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var archives []string
	for program, name := range map[string]string{"pause": node.PauseImage, "web": WebImage} {
		source, err := b.own(ctx, "test", program)
		if err != nil {
			return nil, err
		}
		img := image.Image{
			Name: name, User: nonRoot, Entrypoint: []string{"/" + program},
			Files: []image.File{{Path: "/" + program, Source: source}},
		}
		archive := filepath.Join(b.treeCache(), program+".tar")
		if err := img.WriteFile(archive); err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// Herald builds both of Herald's programs into an image of the given name, and
// returns its archive. The announcer's file has the one capability it needs, so
// that it can run as a user other than root and without privilege escalation.
func (b *Builder) Herald(ctx context.Context, name string) (string, error) {
	unlock, err := b.lockTree(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	controller, err := b.own(ctx, ".", "cloud-controller-manager")
	if err != nil {
		return "", err
	}
	announcer, err := b.own(ctx, ".", "announcer")
	if err != nil {
		return "", err
	}
	img := image.Image{
		Name: name, User: nonRoot,
		Files: []image.File{
			{Path: "/cloud-controller-manager", Source: controller},
			{Path: "/announcer", Source: announcer, Capabilities: []image.Capability{image.NetRaw}},
		},
	}
	archive := filepath.Join(b.treeCache(), strings.NewReplacer("/", "_", ":", "_").Replace(name)+".tar")
	return archive, img.WriteFile(archive)
}

// own builds a program of this tree. module is its module's directory.
func (b *Builder) own(ctx context.Context, module, program string) (string, error) {
	out := filepath.Join(b.treeCache(), program)
	return out, b.goBuild(ctx, program, filepath.Join(b.Root, module), []string{"-o", out, "./cmd/" + program})
}

// lockTree makes the directory for this tree's programs and keeps others out.
func (b *Builder) lockTree(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(b.treeCache(), 0o755); err != nil {
		return nil, err
	}
	return b.lock(ctx, b.treeCache())
}

// treeCache is where programs of this very tree are kept: another tree's have
// the same names.
func (b *Builder) treeCache() string {
	sum := sha256.Sum256([]byte(b.Root))
	return filepath.Join(b.Cache, "tree-"+hex.EncodeToString(sum[:4]))
}
