//! The removal of images with `--remove-images`. The tag that a container used is removed. The
//! Engine deletes an image with its last tag. An image that is kept is noted.

use std::collections::BTreeSet;

use super::super::engine::client::EngineError;
use super::super::engine::retry::RetryingEngine;
use super::context::TeardownContext;
use super::outcome::{Leftover, Targets};

/// Removes the images of the targets. Returns the errors.
pub(super) async fn remove(
    engine: &RetryingEngine,
    context: TeardownContext<'_>,
    targets: &Targets,
) -> Vec<Leftover> {
    let members = targets.values().flat_map(|decky| &decky.members);
    let images: BTreeSet<_> = members
        .map(|member| (&member.container.image, &member.container.image_id))
        .collect();
    let mut errors = Vec::new();
    for (reference, id) in images {
        let object = format!("image {reference}");
        match remove_image(engine, reference, id).await {
            Ok(None) => context.notes.clear(&object),
            Ok(Some(reason)) => context
                .notes
                .set(&object, &format!("{object} is kept: {reason}")),
            Err(error) => errors.push(Leftover(error.to_string())),
        }
    }
    errors
}

/// Removes the tag `reference` of an image, or the image itself if it has no tags. Returns the
/// reason if the image is kept.
async fn remove_image(
    engine: &RetryingEngine,
    reference: &str,
    id: &str,
) -> Result<Option<String>, EngineError> {
    let Some(tags) = list_tags(engine, id).await? else {
        return Ok(None);
    };
    // The tag of a container that stays must stay too, or the container could not be created again.
    let listed = engine
        .call(|engine| async move { engine.list_containers_by_image(id).await })
        .await?;
    let mut containers = listed.containers.iter();
    let is_user = |image: &str| is_same_tag(image, reference) || is_same_tag(reference, image);
    if let Some(user) = containers.find(|container| is_user(container.image())) {
        return Ok(Some(format!("the container {} uses it", user.name())));
    }
    let used = tags.iter().find(|tag| is_same_tag(tag, reference));
    let name = match used {
        Some(tag) => tag,
        // The reference is an id or a digest, or its tag now belongs to another image.
        None if tags.is_empty() => id,
        None => return Ok(Some(format!("it has the tags {}", tags.join(", ")))),
    };
    let removed = engine
        .call(|engine| async move { engine.remove_image(name).await })
        .await;
    match removed {
        Err(error) if error.is_in_use() => return Ok(Some("a container uses it".to_owned())),
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    let left = list_tags(engine, id).await?;
    Ok(left.map(|tags| match tags.as_slice() {
        [] => "a container or another image uses it".to_owned(),
        tags => format!("it also has the tags {}", tags.join(", ")),
    }))
}

/// Returns the tags of an image, or `None` if the image does not exist.
async fn list_tags(engine: &RetryingEngine, id: &str) -> Result<Option<Vec<String>>, EngineError> {
    let inspected = engine
        .call(|engine| async move { engine.inspect_image(id).await })
        .await;
    match inspected {
        Ok(image) => Ok(Some(image.repo_tags.unwrap_or_default())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether a reference with or without a tag names this tag.
fn is_same_tag(tag: &str, reference: &str) -> bool {
    let (tag, reference) = (shorten(tag), shorten(reference));
    tag == reference || tag.strip_suffix(":latest") == Some(reference)
}

/// Returns the short form of a reference, as the Engine lists it: `nginx:1.27` for
/// `docker.io/library/nginx:1.27`.
fn shorten(reference: &str) -> &str {
    let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
    short.strip_prefix("library/").unwrap_or(short)
}

#[cfg(test)]
mod tests {
    use super::is_same_tag;

    #[test]
    fn a_reference_without_a_tag_or_a_registry_names_the_usual_one() {
        assert!(is_same_tag("bait:latest", "bait"));
        assert!(is_same_tag("bait:latest", "docker.io/library/bait"));
        assert!(is_same_tag("nginx:1.27", "docker.io/library/nginx:1.27"));
        assert!(is_same_tag("me/bait:1", "docker.io/me/bait:1"));
        assert!(!is_same_tag("bait:1", "example.org/bait:1"));
        assert!(is_same_tag("bait:1", "bait:1"));
        assert!(!is_same_tag("bait:1", "bait"));
        assert!(!is_same_tag("other:latest", "bait"));
    }
}
