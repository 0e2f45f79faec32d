// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	volumeCount = 40
	volumeSize  = "2Gi"
)

const storageClass = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: local
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Retain
`

const volumeFormat = `---
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s}
spec:
  storageClassName: local
  capacity: {storage: ` + volumeSize + `}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  local: {path: %[2]q}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions:
        - {key: kubernetes.io/hostname, operator: In, values: [` + nodeName + `]}
`

func volumeName(i int) string { return fmt.Sprintf("local-%02d", i) }

func volumePath(l Layout, name string) string { return l.State("volumes", name) }

// prepareStorage makes the folders, the storage class and the volumes, and gives released volumes back.
func prepareStorage(ctx context.Context, l Layout) error {
	var manifest strings.Builder
	manifest.WriteString(storageClass)
	for i := range volumeCount {
		path := volumePath(l, volumeName(i))
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		fmt.Fprintf(&manifest, volumeFormat, volumeName(i), path)
	}
	if err := apply(ctx, l, manifest.String()); err != nil {
		return err
	}
	_, err := scrubReleased(ctx, l)
	return err
}

type persistentVolume struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		StorageClassName string                `json:"storageClassName"`
		Local            struct{ Path string } `json:"local"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

// scrubReleased empties every volume whose claim is gone and lets it be claimed again.
func scrubReleased(ctx context.Context, l Layout) (int, error) {
	out, err := kubectl(ctx, l, "", "get", "persistentvolumes", "-o", "json")
	if err != nil {
		return 0, err
	}
	var list struct{ Items []persistentVolume }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return 0, err
	}
	scrubbed := 0
	for _, pv := range list.Items {
		if pv.Status.Phase != "Released" || pv.Spec.Local.Path != volumePath(l, pv.Metadata.Name) {
			continue
		}
		if err := emptyFolder(pv.Spec.Local.Path); err != nil {
			return scrubbed, err
		}
		// The resource version makes the patch fail if somebody else changed the volume meanwhile.
		patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%q},"spec":{"claimRef":null}}`, pv.Metadata.ResourceVersion)
		if _, err := kubectl(ctx, l, "", "patch", "persistentvolume", pv.Metadata.Name, "--type=merge", "-p", patch); err != nil {
			return scrubbed, err
		}
		scrubbed++
	}
	return scrubbed, nil
}

// emptyFolder removes what is in the folder and gives the folder itself its first owner and mode back.
func emptyFolder(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Chown(path, 0, 0); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

func runScrub(ctx context.Context, l Layout, _ []string) error {
	n, err := scrubReleased(ctx, l)
	if err == nil {
		fmt.Printf("%d volumes emptied\n", n)
	}
	return err
}
