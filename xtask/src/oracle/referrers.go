// A registry with the API for referrers (distribution-spec 1.1), of go-containerregistry: `referrers FOLDER PORT`.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	blobs := registry.NewDiskBlobHandler(os.Args[1])
	handler := registry.New(registry.WithReferrersSupport(true), registry.WithBlobHandler(blobs))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[2], handler))
}
