// The members of tars by Go's archive/tar, as lines of JSON like those of `differ.rs`.
//
// Usage: members FILE-WITH-PATHS
package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

var kinds = map[byte]string{
	tar.TypeReg: "Regular", '\x00': "Regular", tar.TypeCont: "Regular", tar.TypeGNUSparse: "Regular",
	tar.TypeLink: "HardLink", tar.TypeSymlink: "Symlink", tar.TypeChar: "CharDevice",
	tar.TypeBlock: "BlockDevice", tar.TypeDir: "Directory", tar.TypeFifo: "Fifo",
}

func members(path string) ([][]any, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := tar.NewReader(bufio.NewReader(file))
	list := [][]any{}
	for {
		head, err := reader.Next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		// A global header of PAX is no member; its records count for nothing in Go.
		if head.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		// The label of a volume (GNU) is no file.
		if head.Typeflag == 'V' {
			continue
		}
		hash := sha256.New()
		size, err := io.Copy(hash, reader)
		if err != nil {
			return list, err
		}
		kind, known := kinds[head.Typeflag]
		if !known {
			kind = fmt.Sprintf("type %q", head.Typeflag)
		}
		link := ""
		if kind == "HardLink" || kind == "Symlink" {
			link = head.Linkname
		}
		list = append(list, []any{
			hex.EncodeToString([]byte(head.Name)), kind, head.Mode & 07777, head.Uid, head.Gid,
			head.ModTime.Unix(), size, hex.EncodeToString([]byte(link)), hex.EncodeToString(hash.Sum(nil)),
		})
	}
}

func main() {
	paths, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(paths)
	for lines.Scan() {
		list, err := members(lines.Text())
		text := ""
		if err != nil {
			text = err.Error()
		}
		out.Encode(map[string]any{"file": lines.Text(), "members": list, "error": text})
	}
}
