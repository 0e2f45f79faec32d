package contract

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// DeviceRow is a device as the documents of its fleet have it, encoded once: a change of one device encodes one anew, however large the fleet is.
type DeviceRow struct {
	// Name of the device, which needs no escape in JSON; see ValidDevice.
	Name string
	// Community where it hangs; empty in store.
	Community string
	// Device is its Device; nil for a device that only Credentials have.
	Device json.RawMessage
	// Credential is its Credential; nil for a device that is not admitted.
	Credential json.RawMessage
}

// DeviceRows are the devices of a fleet, in the order of their names, each once. They are shared: nobody changes them.
type DeviceRows []DeviceRow

// EncodeDevice gives a Device as a DeviceRow has it.
func EncodeDevice(d Device) json.RawMessage { return encode(d) }

// EncodeCredential gives a Credential as a DeviceRow has it.
func EncodeCredential(c Credential) json.RawMessage { return encode(c) }

// encode gives the form in which a value and what a reader makes of it have one digest: keys in order (the fields of Device and Credential
// stand in the order of their keys), and no more escaped than JSON asks for, which is what OPA signs. Its texts are valid UTF-8.
func encode(v any) json.RawMessage {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings, integers and booleans always encode
	}
	return bytes.Clone(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
}

// NewDeviceRows encodes the devices of a fleet.
func NewDeviceRows(devices map[string]Device, credentials map[string]Credential) DeviceRows {
	out := make(DeviceRows, 0, len(devices))
	for name, d := range devices {
		row := DeviceRow{Name: name, Community: d.Community, Device: EncodeDevice(d)}
		if c, admitted := credentials[name]; admitted {
			row.Credential = EncodeCredential(c)
		}
		out = append(out, row)
	}
	for name, c := range credentials {
		if _, registered := devices[name]; !registered {
			out = append(out, DeviceRow{Name: name, Credential: EncodeCredential(c)})
		}
	}
	out.Sort()
	return out
}

// Sort brings rows into the order of their names.
func (r DeviceRows) Sort() {
	slices.SortFunc(r, func(a, b DeviceRow) int { return cmp.Compare(a.Name, b.Name) })
}

// Find gives the place of a device in rows that are in order, or where it would stand.
func (r DeviceRows) Find(name string) (int, bool) {
	return slices.BinarySearchFunc(r, name, func(row DeviceRow, name string) int { return cmp.Compare(row.Name, name) })
}

// Registered counts the devices that are more than a credential.
func (r DeviceRows) Registered() (n int) {
	for _, row := range r {
		if row.Device != nil {
			n++
		}
	}
	return n
}

// Decode is the inverse of NewDeviceRows.
func (r DeviceRows) Decode() (map[string]Device, map[string]Credential, error) {
	devices, credentials := make(map[string]Device, len(r)), make(map[string]Credential, len(r))
	for _, row := range r {
		if row.Device != nil {
			var d Device
			if err := json.Unmarshal(row.Device, &d); err != nil {
				return nil, nil, fmt.Errorf("device %s: %w", row.Name, err)
			}
			devices[row.Name] = d
		}
		if row.Credential != nil {
			var c Credential
			if err := json.Unmarshal(row.Credential, &c); err != nil {
				return nil, nil, fmt.Errorf("credential of device %s: %w", row.Name, err)
			}
			credentials[row.Name] = c
		}
	}
	return devices, credentials, nil
}

// Devices gives the value of Fleet.Devices.
func (r DeviceRows) Devices() json.RawMessage {
	return r.object(func(row DeviceRow) json.RawMessage { return row.Device })
}

// Credentials gives the value of Credentials.Devices.
func (r DeviceRows) Credentials() json.RawMessage {
	return r.object(func(row DeviceRow) json.RawMessage { return row.Credential })
}

func (r DeviceRows) object(value func(DeviceRow) json.RawMessage) json.RawMessage {
	size := len("{}")
	for _, row := range r {
		size += len(row.Name) + len(value(row)) + len(`"":,`)
	}
	out := append(make([]byte, 0, size), '{')
	for _, row := range r {
		v := value(row)
		if v == nil {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), row.Name...), `":`...)
		out = append(out, v...)
	}
	return append(out, '}')
}

// Digest names the rows by their content.
func (r DeviceRows) Digest() string {
	h := sha256.New()
	var line []byte
	for _, row := range r { // JSON holds no NUL, and a name neither
		line = append(append(line[:0], row.Name...), 0)
		line = append(append(line, row.Device...), 0)
		line = append(append(line, row.Credential...), 0)
		_, _ = h.Write(line)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
