//! A script behind a running lab: what it says of the API server befalls its clients.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use kpo_lab::{Lab, LabOptions, World, script};
use tower::ServiceExt as _;

async fn get(lab: &Lab, path: &str) -> Result<StatusCode, ()> {
    let request = Request::get(path).body(http_body_util::Full::<bytes::Bytes>::default()).map_err(drop)?;
    let response = lab.service().oneshot(request).await.map_err(drop)?;
    let status = response.status();
    response.into_body().collect().await.map_err(drop)?;
    Ok(status)
}

#[tokio::test(start_paused = true)]
async fn the_api_server_is_down_for_as_long_as_the_script_says() {
    let script =
        script::parse("node node-1\nat 1s: api down 30s\nat 40s: api answers 503 to get pods 1 time\n").expect("reads");
    let mut world = World::new(Lab::EPOCH, 1, Box::new(script.runtime()));
    world.play(&script);
    let lab = Lab::in_process(world, LabOptions::default());
    assert_eq!(get(&lab, "/api/v1/nodes/node-1").await, Ok(StatusCode::OK));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(get(&lab, "/api/v1/nodes/node-1").await, Err(()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(get(&lab, "/api/v1/nodes/node-1").await, Ok(StatusCode::OK));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let pod = "/api/v1/namespaces/default/pods/none";
    assert_eq!(get(&lab, pod).await, Ok(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(get(&lab, pod).await, Ok(StatusCode::NOT_FOUND));
}

#[tokio::test(start_paused = true)]
async fn trouble_that_nobody_meets_is_told() {
    let script = script::parse("node node-1\nat 1s: api down 5s\nat 10s: api drops watch pods\n").expect("reads");
    let mut world = World::new(Lab::EPOCH, 1, Box::new(script.runtime()));
    world.play(&script);
    let lab = Lab::in_process(world, LabOptions::default());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let told = lab.with(|_, world| (world.refusals().to_vec(), world.idle_happenings()));
    assert_eq!(told.0, ["line 2: it befell no request"]);
    assert_eq!(told.1, ["line 3: it befell no request"]);
}
