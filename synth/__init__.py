"""Virtual face masks rendered in 3D onto real photos, with labels exact by construction."""
