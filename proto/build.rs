//! Compiles the `.proto` files without `protoc`.

#[cfg(not(feature = "rpc"))]
fn main() {}

#[cfg(feature = "rpc")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["enrolment", "participant", "blob", "run"]
        .map(|noun| format!("proto/chancery/v1/{noun}.proto"));
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("chancery.bin"))
        .compile_fds(descriptors.clone())?;
    // Kept beside the code so that the server can describe itself by reflection.
    std::fs::write(out.join("chancery.bin"), prost::Message::encode_to_vec(&descriptors))?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
