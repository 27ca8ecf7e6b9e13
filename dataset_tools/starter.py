"""The configuration that `build-dataset init` writes: every setting a first build needs, explained."""

STARTER_CONFIG = """\
# A maskset build. Run it with:  build-dataset run config.yaml
# Relative paths are meant from this file's folder. An unknown key is an error.
name: my-masks
workspace: work          # pictures, manifests, checkpoints and the finished dataset live here
seed: 7                  # with the sample ids, decides everything random
workers: 2               # processes

crawl:
  contact: you@example.org      # sent in the User-Agent, so that a site can reach you
  sources:
    # A licence has no default: state the one you have, or give a licence column.
    - {type: folder, name: photos, path: ./photos, licence: CC-BY-4.0, author: you}
    # - {type: url_list, name: web, path: urls.csv}   # columns: url, licence, author, group

filter:
  min_face_px: 100        # ABANet drops faces smaller than 100x100

synth:
  per_face: 2             # rendered children of each photo with a bare face

# Pre-labelling: a model proposes masks on the photos that have no labels yet. "default" comes with the
# suite; or name the folder of a trained baseline; none: no proposals.
prelabel: {checkpoint: default}
# Or train one on this build's own rendered samples, which then pre-labels instead of the default:
# proposer: {baseline: unet_effnet_lite0, steps: 200}

split:
  preset: misa            # 8:1:1; abanet: 8500:2500:1758

# The card and the datasheet compute what they can; for open publication they also need these.
# data_cards/templates/export.yaml has every question.
export:
  description: ""         # one sentence: what the dataset is
  contact: ""             # where people ask for removal of a picture
  lawful_basis: ""        # on what ground you hold pictures of faces
  consent: ""             # what the people in them agreed to

# Train and score a baseline on the finished splits; remove to stop after the dataset.
train: {baseline: unet_effnet_lite0, steps: 1000}
"""
